"""The executor of `docs/executor_example.md` passes the suite that its page tells authors to run."""

import re
import sys
from types import ModuleType

from tests.suite import ROOT

executor, suite = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "executor_example.md").read_text(), re.S | re.M)
module = sys.modules["acme_interlock.set_maintenance"] = ModuleType("acme_interlock.set_maintenance")
exec(compile(executor, "executor_example.md", "exec"), vars(module))
exec(compile(suite, "executor_example.md", "exec"))
