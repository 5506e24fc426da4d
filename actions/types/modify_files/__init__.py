"""The action type ``modify_files``: create, replace and delete text files below an environment's root."""

from actions.types.modify_files.executor import ModifyFiles

__all__ = ["ModifyFiles"]
