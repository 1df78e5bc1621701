"""Training scripts that tests run: small, with a real checkpoint and a visible pace."""

from __future__ import annotations

# Waits before an epoch, that of hyperparameter `hold`, until a test lets it go on.
HOLD = """
go = pathlib.Path("/mnt/loopwright/pvc/results/go")
hold = int(train.hyperparameters().get("hold", "-1"))

def held(epoch):
    while epoch == hold and not go.exists():
        time.sleep(0.2)
"""

# Counts epochs, one a second, and checkpoints each; shows that it continued by the epochs it did.
COUNTING = (
    f"""
import json, pathlib, sys, tempfile, time
from loopwright import train
{HOLD}"""
    + """
epochs = int(train.hyperparameters().get("epochs", "5"))
start, done = 0, []
previous = train.get_checkpoint()
if previous is not None:
    state = json.loads((pathlib.Path(previous) / "state.json").read_text())
    start, done = state["epoch"], state["done"]
for epoch in range(start + 1, epochs + 1):
    held(epoch)
    time.sleep(1)
    print("epoch", epoch, flush=True)
    done.append(epoch)
    if train.rank() == 0:
        with tempfile.TemporaryDirectory() as folder:
            state = {"epoch": epoch, "done": done}
            (pathlib.Path(folder) / "state.json").write_text(json.dumps(state))
            train.checkpoint(folder, step=epoch)
    train.report({"loss": 1 / epoch, "epochs_in_history": len(done), "started_at": start},
                 step=epoch, total_steps=epochs, epoch=epoch)
print("finished", done, flush=True)
"""
)

QUICK = """
from loopwright import train
train.report({"loss": 0.5}, step=1, total_steps=1, epoch=1)
"""

FAILING = """
raise ValueError("the learning rate must be positive")
"""

# The same, in step with its peers: when one of them is gone, the others fail as well.
IN_STEP = COUNTING.replace(
    "from loopwright import train\n",
    "from loopwright import train\nimport torch.distributed as dist\n"
    "dist.init_process_group('gloo')\n",
).replace("    time.sleep(1)\n", "    time.sleep(1)\n    dist.barrier()\n")

# Checkpoints only when it is told to stop.
GRACEFUL = (
    f"""
import json, pathlib, signal, sys, tempfile, time
from loopwright import train
{HOLD}"""
    + """
previous = train.get_checkpoint()
epoch = json.loads((previous / "state.json").read_text())["epoch"] if previous else 0

def save(*_):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "state.json").write_text(json.dumps({"epoch": epoch}))
        train.checkpoint(folder, step=epoch)
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
resumed_at = epoch
while epoch < 20:
    held(epoch)
    time.sleep(1)
    epoch += 1
    train.report({"resumed_at": resumed_at}, step=epoch, total_steps=20, epoch=epoch)
"""
)
