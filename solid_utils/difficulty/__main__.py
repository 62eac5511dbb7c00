"""The command of the room `recommend` under its first name: this process becomes the other one."""

import os
import sys

os.execv(sys.executable, [sys.executable, "-m", "solid_utils.recommend", *sys.argv[1:]])
