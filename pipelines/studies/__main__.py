"""The studies from a shell: `python -m pipelines.studies`."""

import sys

from pipelines.studies.flow import main

sys.exit(main())
