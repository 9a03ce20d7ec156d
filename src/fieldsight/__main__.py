"""``python -m fieldsight``."""

import sys

from fieldsight.cli import main

sys.exit(main())
