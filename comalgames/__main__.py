"""`python -m comalgames` is the `comalgames` command."""

import sys

from comalgames.cli import main

sys.exit(main())
