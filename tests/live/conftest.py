from tests.api.conftest import carry, place, program

__all__ = ["carry", "place", "program"]
