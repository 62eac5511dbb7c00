"""python -m solid_utils.grid: see grid.py."""

from solid_utils.core.errors import one_line
from solid_utils.grid.grid import main

with one_line():
    main()
