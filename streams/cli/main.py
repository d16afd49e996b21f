"""The `creatives` command. Its files import little at module level, so `creatives --help` answers at once."""

from __future__ import annotations

import traceback

import click

from models.errors import CreativesError, require_messages
from streams.cli.demo.command import demo
from streams.cli.doctor import doctor
from streams.cli.emit import emit
from streams.cli.evaluate import evaluate
from streams.cli.generate import generate
from streams.cli.prompt import prompt
from streams.cli.services import services
from streams.cli.topics import topics
from streams.cli.train import train
from streams.cli.upload_photos import upload_photos
from streams.cli.watch import watch
from streams.cli.worker import worker

EPILOG = """\b
Try it:
  creatives demo                                    three segments in, pictures out; needs no other service
  creatives generate "a cup of coffee" -n 8         the same models without Kafka

\b
Run it in three terminals:
  creatives services --env-file services.env        1: an embedded broker and object store
  set -a; . ./services.env; creatives worker        2: the worker
  set -a; . ./services.env; set +a                  3: send a segment and print the result
  creatives emit docs/examples/coffee-enthusiast.json
  creatives watch creative-ready --from-beginning --count 1

Settings are environment variables such as CREATIVES_KAFKA__BOOTSTRAP_SERVERS and CREATIVES_STORAGE__ENDPOINT;
docs/settings.md lists all of them.

\b
Exit codes:
  0   done
  1   failed; the last line gives the reason
  2   wrong option, setting or input file
  130 stopped with Ctrl-C
"""

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
DEBUG_HELP = "Show tracebacks and the log lines of libraries."


class CreativesGroup(click.Group):
    """A group whose commands report a failure in one line instead of a traceback."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a newcomer needs them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. A failure prints one line; with `--debug` the traceback precedes it."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # the process boundary
            if ctx.params.get("debug"):
                traceback.print_exc()
            raise click.ClickException(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    if isinstance(error, CreativesError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    text = " ".join(str(error).split())[:300]
    return f"unexpected {type(error).__name__}: {text} (run again with --debug to see the traceback)"


@click.group(cls=CreativesGroup, epilog=EPILOG, context_settings=CONTEXT_SETTINGS)
@click.option("--debug", is_flag=True, help=f"{DEBUG_HELP} Every command accepts this option too.")
@click.version_option(package_name="fluence-creatives", prog_name="creatives")
def cli(debug: bool) -> None:
    """Make advertising pictures for audience segments: read events from Kafka, store pictures in S3, publish events."""
    from streams.cli.terminal import set_library_logging

    if not debug:
        set_library_logging(enabled=False)


def _enable_debug(context: click.Context, _option: click.Parameter, enabled: bool) -> None:
    """Accept `--debug` after the name of a command as well as before it."""
    from streams.cli.terminal import set_library_logging

    if enabled:
        context.find_root().params["debug"] = True
        set_library_logging(enabled=True)


for command in (demo, generate, train, evaluate, worker, services, topics, upload_photos, emit, prompt, watch, doctor):
    option = click.Option(["--debug"], is_flag=True, expose_value=False, callback=_enable_debug, help=DEBUG_HELP)
    command.params.append(option)
    cli.add_command(command)


def main() -> None:
    """Run the command line."""
    require_messages()
    cli(prog_name="creatives")
