"""python -m solid_utils.doctor"""

from solid_utils.core.errors import one_line
from solid_utils.doctor.doctor import main

if __name__ == "__main__":
    with one_line():
        raise SystemExit(main())
