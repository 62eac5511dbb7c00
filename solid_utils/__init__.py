"""Re-execution of SOLID: which layers of a language model must be secured so that it cannot be distilled?"""

import gc
import os
import sys
import warnings

from solid_utils.core.errors import hook

# No telemetry, and no look-ups on a hub unless a model section asks for them.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Idle OpenMP threads soon sleep: spinning on, they take the other core from a second program and both crawl.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# glibc hands large freed buffers back to the kernel, and torch asks for them again in every layer: keeping those below
# 64 MB makes forwards and training steps about a tenth faster (128 MB: 3 % more speed, but 0.3 GB more at the peak;
# 16 MB: 0.3 GB less, a tenth slower). Read when a process starts, so this reaches notebook kernels; the Makefile sets
# it for the other stages.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**26))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**27))

# Imports make 800,000 objects that all stay. By Python's usual 10 they are searched for garbage seven times over, an
# eighth of what a stage takes to start; young garbage is found as soon as ever.
gc.set_threshold(*gc.get_threshold()[:2], 200)

# tqdm's widget is not used: its plain bar is what papermill streams.
warnings.filterwarnings("ignore", message="IProgress not found")

if sys.argv[:1] == ["-m"]:  # Python's own name while it still looks for the module of a command
    sys.excepthook = hook
