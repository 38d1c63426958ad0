"""`python -m monge`, for launchers that start a module: the same as `monge`."""

from monge.cli import main

main()
