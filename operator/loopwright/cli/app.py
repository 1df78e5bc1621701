"""The commands, and how their errors are shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, ParamSpec

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from loopwright import __version__
from loopwright.api.kinds import KINDS
from loopwright.api.registry import ModelVersion
from loopwright.api.resources import own
from loopwright.cli import diff as diffing
from loopwright.cli import doctor as doctoring
from loopwright.cli import logs as logging
from loopwright.cli import predict as predicting
from loopwright.cli import report as reporting
from loopwright.cli import status as showing
from loopwright.cli.kubeconfig import load
from loopwright.cli.output import Format, console, dim, line, print_json
from loopwright.view import explain as explaining
from loopwright.view.cluster import KIND_OF, Cluster
from loopwright.view.errors import Refused, Trouble
from loopwright.view.refs import Found, find, kind_of
from loopwright.view.scene import look
from loopwright.view.summary import ended, phase_of
from loopwright.view.words import clean

P = ParamSpec("P")
POLL_SECONDS: Final = 2.0
BROKEN_PIPE: Final = 141

app = typer.Typer(
    name="loopwright",
    help="Shows and explains what Loopwright does in a cluster, with your own rights.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="By default that of the context.")
]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig to use.")]
Kubeconfig = Annotated[str | None, typer.Option(help="Kubeconfig to use.")]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]


def names(incomplete: str) -> list[str]:
    """Completes a name, or KIND/NAME, from what the current namespace holds."""
    word, slash, _ = incomplete.rpartition("/")
    try:
        cluster = load(None, None, None)
        kinds = (kind_of(word),) if slash else KINDS
        found = [Found(kind, obj) for kind in kinds for obj in cluster.list(own(kind))]
    except Trouble:
        return []
    prefix = f"{word}/" if slash else ""
    return [name for one in found if (name := f"{prefix}{one.name}").startswith(incomplete)]


Ref = Annotated[
    str, typer.Argument(metavar="[KIND/]NAME", autocompletion=names, help="Such as tj/digits.")
]


def command(function: Callable[P, None]) -> Callable[P, None]:
    """A command of the tool; an error of it is one line, and exit code 1."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Trouble as error:
            console(stderr=True).print(f"loopwright: {error.line()}", soft_wrap=True)
            raise typer.Exit(1) from error

    app.command()(run)
    return run


def note(text: str) -> None:
    """Something to know besides the answer."""
    console(stderr=True).print(f"loopwright: {clean(text)}", soft_wrap=True)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """What comes before a command."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@command
def status(
    ref: Annotated[
        str | None,
        typer.Argument(metavar="[KIND/]NAME", autocompletion=names, help="By default all."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it.")] = False,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show an object with all that was made for it, or everything in the namespace."""
    cluster = load(kubeconfig, context, namespace)
    if watch and (ref is None or output is Format.JSON):
        raise Trouble("--watch follows one object, for people", "name it, without -o json")
    if ref is None:
        _everything(cluster, output)
        return
    found = find(cluster, ref)
    if watch:
        _watch(cluster, found)
    elif output is Format.JSON:
        scene = look(cluster, found)
        children = [{k: one.get(k) for k in ("apiVersion", "kind", "metadata", "status")}
                    for one in scene.children]  # fmt: skip
        print_json({**found.obj, "children": children})
    else:
        console().print(showing.tree(look(cluster, found)))


def _everything(cluster: Cluster, output: Format) -> None:
    found = []
    for kind in KINDS:
        try:
            found += [Found(kind, obj) for obj in cluster.list(own(kind))]
        except Refused as error:
            note(error.line())
    if output is Format.JSON:
        print_json([one.obj for one in found])
    elif not found:
        note(f"there is nothing of Loopwright in namespace {cluster.namespace}")
    else:
        console().print(showing.table(found, cluster.time))


def _watch(cluster: Cluster, found: Found) -> None:
    """Redraws the tree until the job ends; without a terminal prints a line for each change."""
    out = console()
    if out.is_terminal:
        with Live(console=out, auto_refresh=False) as live:
            found = _follow(cluster, found, lambda one: _draw(cluster, live, one))
    else:
        shown: list[str] = []
        found = _follow(cluster, found, lambda one: _print(out, shown, one))
    if phase_of(found.obj) == "Failed":
        raise Trouble(f"{found.ref} has failed", f"loopwright explain {found.ref}")


def _follow(cluster: Cluster, found: Found, show: Callable[[Found], None]) -> Found:
    while True:
        show(found)
        if ended(found.obj):
            return found
        time.sleep(POLL_SECONDS)
        obj = cluster.get(own(found.kind), found.name)
        if obj is None:
            raise Trouble(f"{found.ref} was deleted")
        found = Found(found.kind, obj)


def _draw(cluster: Cluster, live: Live, found: Found) -> None:
    live.update(showing.tree(look(cluster, found)), refresh=True)


def _print(out: Console, shown: list[str], found: Found) -> None:
    text = showing.title(found)
    if [text.plain] != shown[-1:]:
        shown.append(text.plain)
        out.print(text, soft_wrap=True)


@command
def logs(
    ref: Ref,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until it ends.")] = False,
    rank: Annotated[int | None, typer.Option(min=0, help="Of one process only.")] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="By default the newest.")] = None,
    tail: Annotated[int | None, typer.Option(min=0, help="The last lines only.")] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Print what training or a server prints, from its pods, or else from storage."""
    cluster = load(kubeconfig, context, namespace)
    found = find(cluster, ref)
    for text in logging.lines(cluster, found, follow=follow, rank=rank, attempt=attempt, tail=tail):
        sys.stdout.write(f"{text}\n")
        if follow:
            sys.stdout.flush()


@command
def explain(
    ref: Ref,
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Say why something waits or failed, and the one thing to do."""
    cluster = load(kubeconfig, context, namespace)
    found = find(cluster, ref)
    scene = look(cluster, found, events=True)
    told = explaining.explain(scene)
    if output is Format.JSON:
        print_json(told.wire())
        return
    out = console()
    out.print(showing.title(found))
    for one in told.findings:
        out.print()
        out.print(line(Text(f"{one.about}: {clean(one.reason)}", "yellow")))
        out.print(clean(one.message))
    if scene.unseen:
        out.print(dim(f"\nnot seen, for lack of rights: {', '.join(scene.unseen)}"))
    out.print()
    out.print(Text("To do: ", "bold").append(clean(told.todo), "not bold"))


@command
def predict(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", autocompletion=names)],
    data: Annotated[
        str, typer.Option("--data", "-d", help="File, - for the standard input, or JSON.")
    ],
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Ask an endpoint: rows in JSON, or a whole request of KServe's v1 or v2."""
    body = predicting.body_of(data)
    cluster = load(kubeconfig, context, namespace)
    ref = endpoint if "/" in endpoint else f"mep/{endpoint}"
    print_json(predicting.predict(cluster, find(cluster, ref), body, note))


@command
def report(
    ref: Ref,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; by default NAME-report.html.")
    ] = None,
    experiment: Annotated[
        bool, typer.Option("--experiment", help="Of an endpoint: that of its experiment.")
    ] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Fetch the HTML report of a sweep, a batch, checked data, or an endpoint's monitors."""
    cluster = load(kubeconfig, context, namespace)
    found = find(cluster, ref)
    page = reporting.page(cluster, found, experiment=experiment)
    file = output or Path(f"{found.name}-{'experiment' if experiment else 'report'}.html")
    if str(file) == "-":
        sys.stdout.write(page.decode(errors="replace"))
        return
    try:
        file.write_bytes(page)
    except OSError as error:
        raise Trouble(
            f"cannot write {file}: {error.strerror}", "choose another file: -o"
        ) from error
    typer.echo(file)


@command
def diff(
    left: Annotated[str, typer.Argument(metavar="MODELVERSION", autocompletion=names)],
    right: Annotated[str, typer.Argument(metavar="MODELVERSION", autocompletion=names)],
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Compare two versions: metrics, signature, data, hyperparameters, lineage."""
    cluster = load(kubeconfig, context, namespace)
    one, other = (_version(cluster, name) for name in (left, right))
    if output is Format.JSON:
        print_json(diffing.wire(one, other))
    else:
        console().print(diffing.table(one, other))


def _version(cluster: Cluster, name: str) -> diffing.Version:
    found = find(cluster, name if "/" in name else f"mv/{name}")
    if found.kind.name != "ModelVersion":
        raise Trouble(f"{found.ref} is no version", "name two ModelVersions")
    read = found.read(ModelVersion)
    made, job = read.spec.lineage, None
    for kind, origin in (
        ("TrainingJob", made and made.training_job),
        ("HyperparameterSweep", made and made.hyperparameter_sweep),
    ):
        if origin:
            obj = cluster.get(own(KIND_OF[kind]), origin.name)
            # Another job may have the name by now.
            job = obj if obj is not None and obj["metadata"]["uid"] == origin.uid else job
    return diffing.Version(found.name, read, job)


@command
def doctor(
    operator_namespace: Annotated[
        str, typer.Option(help="Where the operator runs.")
    ] = "loopwright-system",
    output: Output = Format.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Say what the cluster lacks, and how to get it; exit code 1 when nothing can work."""
    cluster = load(kubeconfig, context, namespace)
    found = doctoring.checks(doctoring.look(cluster, operator_namespace))
    if output is Format.JSON:
        print_json(doctoring.wire(found))
    else:
        console().print(doctoring.table(found))
    if doctoring.failed(found):
        raise typer.Exit(1)


def main() -> Any:
    """Entry point of `loopwright` and `kubectl loopwright`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # No bar is worth a traceback.
    try:
        app()
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain again while it ends.
        sys.stdout = None
        sys.exit(BROKEN_PIPE)
