"""Become the service: `python -I entrypoint.py` in the service's control directory. Standard library only.

The supervisor runs this; it reads which release is to run and how, marks the environment with it, and is replaced by
the service's own command. Whatever starts the service, also the supervisor after a crash, starts what the record says.
"""

import json
import os
import sys

if __name__ == "__main__":
    with open("record.json", encoding="utf-8") as file:
        record = json.load(file)
    home = os.path.dirname(os.getcwd())
    os.chdir(os.path.join(home, "releases", record["release"]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("INTERLOCK_", "SUPERVISOR_"))}
    marks = {
        "INTERLOCK_SERVICE": home,
        "INTERLOCK_RELEASE": record["release"],
        "INTERLOCK_DEPLOYMENT": record["token"],
    }
    command = record["command"]
    try:
        os.execvpe(command[0], command, {**kept, **record["environment"], **marks})
    except OSError as error:
        sys.stderr.write(f"interlock: {command[0]} cannot be started: {error.strerror}\n")
        sys.exit(127)
