"""Shell completion, by Hydra's protocol: the shell asks ``COMMAND --shell-completion query=SHELL`` what may follow.

``diffgeo`` leaves keys to Hydra, which knows those of the choices in the line, and answers what Hydra does not: lists
of studies, experiments in folders, and flags. The libraries that complete options with dashes know nothing of the
choices in the line.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffgeo.cli.help import choices, own_keys
from diffgeo.config import config_folder, nearest
from diffgeo.errors import ConfigError

FLAGS = ("--help", "--version", "--dry-run", "--blocks", "--multirun", "--cfg", "--hydra-help", "--shell-completion")

_BASH = """\
{function}()
{{
    local line=${{COMP_LINE:0:$COMP_POINT}} cur=""
    [[ $line == *" " ]] || cur=${{line##* }}
    local found
    found=$(COMP_LINE=$line COMP_POINT=$COMP_POINT "${{line%% *}}" --shell-completion query=bash 2>/dev/null)
    # bash completes what follows the last '=' or ':' of the word, so what is before it is cut off
    local before=""
    [[ $cur == *[=:]* && $COMP_WORDBREAKS == *=* ]] && before=${{cur%"${{cur##*[=:]}}"}}
    COMPREPLY=()
    local word
    for word in $found; do
        [[ $word == "$cur"* ]] && COMPREPLY+=("${{word#"$before"}}")
    done
}}
complete -o nospace -o default -F {function} {name}
"""
_ZSH = "autoload -Uz bashcompinit && bashcompinit\n"
_FISH = """\
function {function}
    set -lx COMP_LINE (commandline -cp)
    set -l parts (commandline -cpo)
    string split ' ' -- ($parts[1] --shell-completion query=fish 2>/dev/null)
end
complete -c {name} -x -a '({function})'
"""


def script(name: str, shell: str) -> str:
    """What ``eval`` makes the shell complete a command with.

    Args:
        name: of the command.
        shell: ``bash``, ``zsh`` or ``fish``.

    Raises:
        ConfigError: another shell.
    """
    shells = {"bash": _BASH, "zsh": _ZSH + _BASH, "fish": _FISH}
    if shell not in shells:
        guess = nearest(shell, list(shells)) or "bash"
        raise ConfigError(
            f"there is no completion for {shell or 'no shell'}",
            f"say {name} --shell-completion install={guess} (known are {', '.join(shells)})",
        )
    return shells[shell].format(name=name, function="_" + name.replace("-", "_"))


def candidates(typed: str, others: Sequence[str] = ()) -> list[str]:
    """Flags, choices of a group, and settings that one choice alone has; none if Hydra knows more.

    Args:
        typed: the last word of the line: ``svd=de``, ``study=[discovery,sp``, ``svd.blo``, ``--d``.
        others: the words before it.
    """
    if typed.startswith("-"):
        return [flag for flag in FLAGS if flag.startswith(typed)]
    if "." in typed and "=" not in typed:
        return [f"{key}=" for key in own_keys(config_folder(), typed, others)]
    group, equals, value = typed.partition("=")
    conf = config_folder()
    if not equals or not group.isidentifier() or not (conf / group).is_dir():
        return []
    before, comma, last = value.rpartition(",")
    if not comma and value.startswith("["):
        before, last = "[", value[1:]
    taken = before.strip("[").split(",")
    return [
        f"{group}={before}{comma}{choice}"
        for choice in choices(conf, group)
        if choice.startswith(last) and choice not in taken
    ]
