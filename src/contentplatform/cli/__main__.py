"""``python -m contentplatform.cli`` is the command, wherever its script was or wasn't installed."""

from contentplatform.cli.main import main

main()
