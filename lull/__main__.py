"""``python -m lull`` is ``lull``."""

from lull.cli import main

main()
