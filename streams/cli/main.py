"""The `creatives` command. Its files import little at the top, so that `creatives --help` answers at once."""

from __future__ import annotations

import traceback

import click

from models.errors import CreativesError
from streams.cli.demo.command import demo
from streams.cli.doctor import doctor
from streams.cli.emit import emit
from streams.cli.generate import generate
from streams.cli.services import services
from streams.cli.topics import topics
from streams.cli.train import evaluate, train
from streams.cli.watch import watch
from streams.cli.worker import worker

EPILOG = """\b
Try it:
  creatives demo                                    three segments in, pictures out; needs nothing else
  creatives generate "a cup of coffee" -n 8         the same studio without Kafka

\b
Run it, in three terminals:
  creatives services --env-file services.env        an embedded broker and object store
  set -a; . ./services.env; creatives worker        in the second
  set -a; . ./services.env; creatives emit docs/examples/coffee-enthusiast.json
  creatives watch creative-ready                    what came of it

Settings come from the environment (CREATIVES_KAFKA__BOOTSTRAP_SERVERS, CREATIVES_STORAGE__ENDPOINT, ...);
docs/settings.md lists them. Exit codes: 0 done, 1 it failed, 2 what you gave is wrong.
"""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Creatives(click.Group):
    """A group whose commands end in one line that says what to do, not in a traceback."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a newcomer meets them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; what goes wrong is one line, with `--debug` after its traceback."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # the process boundary: nobody above us can answer
            if ctx.params.get("debug"):
                traceback.print_exc()
            raise click.ClickException(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    if isinstance(error, CreativesError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    text = " ".join(str(error).split())[:300]
    return f"unexpected {type(error).__name__}: {text} (run again with --debug to see where)"


@click.group(cls=Creatives, epilog=EPILOG, context_settings=CONTEXT)
@click.option(
    "--debug", is_flag=True, help="Show tracebacks and the libraries' own warnings; any command takes it too."
)
@click.version_option(package_name="fluence-creatives", prog_name="creatives")
def cli(debug: bool) -> None:
    """Advertising pictures for audience segments: events in from Kafka, pictures into an object store, events out."""
    from streams.cli.terminal import quieten

    if not debug:
        quieten()


def _debug(context: click.Context, _option: click.Parameter, given: bool) -> None:
    """Take `--debug` after the command's name as before it, where a newcomer looks for it first."""
    from streams.cli.terminal import quieten

    if given:
        context.find_root().params["debug"] = True
        quieten(undo=True)


for command in (demo, generate, train, evaluate, worker, services, topics, emit, watch, doctor):
    words = "Show tracebacks and the libraries' own warnings."
    command.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, callback=_debug, help=words))
    cli.add_command(command)


def main() -> None:
    """Run the command line."""
    cli(prog_name="creatives")
