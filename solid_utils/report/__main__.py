"""python -m solid_utils.report: see report.py."""

from solid_utils.core.errors import one_line
from solid_utils.report.report import main

with one_line():
    main()
