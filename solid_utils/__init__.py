"""Re-execution of SOLID: which layers of a language model must be secured so that it cannot be distilled?"""

import os
import warnings

# No telemetry, and no look-ups on a hub unless a model section asks for them.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Idle OpenMP threads soon sleep: spinning on, they take the other core from a second program and both crawl.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# tqdm's widget is not used: its plain bar is what papermill streams.
warnings.filterwarnings("ignore", message="IProgress not found")
