"""`python -m audit.verify`."""

import sys

from audit.verify.cli import main

sys.exit(main(sys.argv[1:]))
