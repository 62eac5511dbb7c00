"""Where the study's files lie, from the top of the repository; each name once."""

from pathlib import Path

DATA = Path("data")  # raw data, tracked by data.dvc
SETS = Path("build/sets")  # disjoint items: SETS / NAME.jsonl
DOMAINS = Path("build/domains")  # items of domains that no stage of the study asks: DOMAINS / NAME.jsonl
BENCHMARK_ITEMS = SETS / "benchmarks"
MIRROR = Path("build/mirror.txt")  # which copies of the hub's data sets are read
LABELS = Path("build/labels")  # LABELS / MODEL: the victim's answers
STATE = Path("build/state")  # half-done work, outside all outputs
CHECKPOINTS = Path("checkpoints")  # CHECKPOINTS / MODEL / {victim, attacks/RUN, customizations/RUN}
RESULTS = Path("results")
RUNS = RESULTS / "runs"  # RUNS / MODEL / {victim, dd, scan, attacks/RUN, customizations/RUN}
REFERENCE = Path("reference")  # REFERENCE / MACHINE: a shipped run, and the attack grid of that machine
LAB = Path("build/lab")  # a tiny study for JupyterLab where none ran
LAB_NAMED = "SOLID_LAB"  # the variable by which `make lab` names that folder to its kernels
LAB_MARK = "made_by.txt"  # in it, written last
REDRAWN = Path("build/report")  # the report of a run that lies elsewhere
COSTS_FILE, DEFENDED_FILE = "costs.csv", "defended.csv"  # of RUNS / MODEL / deployment
VENDOR = "vendor"  # of REFERENCE / MACHINE: what defences take and cost, VENDOR / MODEL
BOUNDARIES_FILE, ROTATION_FILE = "boundaries.csv", "rotation.csv"
MONITOR_FILE, DISGUISED_FILE = "monitor.csv", "disguised.csv"
PIECES_FILE, TURNS_FILE, SERVED_FILE = "pieces.csv", "turns.csv", "served.csv"
ENDS_FILE = REFERENCE / "ends.csv"  # counted from shapes, so no machine's
PAGES = "pages"  # of a report: its chapters, and CSV files that only these show
FLOOR_FILE = "floor.csv"  # of RUNS / MODEL / victim, and of a grid
ITEMS_END = ".items.csv"  # of a cell of a grid: every held-out text by itself
BENCHMARK_ITEMS_END = ".benchmarks.csv"  # of a cell of a grid with benchmarks, and of the victim: every item by itself
HYPOTHESES_FILE = "hypotheses.csv"  # of a grid: what was asked when a cell began
DD_FILE = "dd.csv"  # of a grid: DD of its secured sets
SET_SCORES_FILE = "set_scores.csv"  # of a grid: scores of its secured sets without training
EXACTNESS_FILE = "exactness.csv"  # of a grid: what noise on the first layer leaves of the victim's answers
VICTIM_FILE = "victim.csv"  # of a grid with benchmarks: the victim's own scores
VICTIM_ITEMS_FILE = "victim" + BENCHMARK_ITEMS_END
PLAN_FILE, LEAKS_FILE = "plan.csv", "leaks.csv"  # of REFERENCE / MACHINE / grid / MODEL
NO_CELLS = (PLAN_FILE, LEAKS_FILE, FLOOR_FILE, VICTIM_FILE, HYPOTHESES_FILE, DD_FILE, SET_SCORES_FILE)
TRIES_FILE = "tries.csv"  # of customization cells: recipes tried on validation problems
SNAPPING_FILE = "snapping.csv"  # of a grid: what rounding to the grid of the victim's quantisation gains on such noise
OFF_GRID_FILE = "off_grid.csv"  # of a grid: the same theft of a victim off the grid of its quantisation
BASIN_FILE = "basin.csv"  # of a grid: what training leaves of noise on what is secret
NO_CELLS += (BASIN_FILE, EXACTNESS_FILE, TRIES_FILE, SNAPPING_FILE, OFF_GRID_FILE)
