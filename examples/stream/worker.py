#!/usr/bin/env python3
"""A program for tasks with `mode: Stream`: a line in for each instance, a line out for each. See docs/workers.md.

It needs nothing but Python itself. As the command of a task: [python3, /app/worker.py]
"""

import json
import os
import sys


def work(instance):
    """One instance. What it returns does not matter; what it raises is told as the instance's failure."""
    # Standard output belongs to the protocol. What is written to standard error stands in the worker's log.
    print("instance", instance["index"], "of", instance["count"], file=sys.stderr)
    output = os.environ.get("OUT")
    if output is not None:
        # Written aside and renamed: a second run of the same instance cannot spoil it.
        aside = os.path.join(output, f".{instance['index']}.{instance['attempt']}")
        with open(aside, "w") as file:
            file.write(str(instance["index"] ** 2))
        os.rename(aside, os.path.join(output, str(instance["index"])))


def say(message):
    print(json.dumps(message), flush=True)


def main():
    # Here is the place for what takes long and is needed once: reading a model, opening a database.
    say({"ready": True})
    # The end of the input is the end of the work.
    for line in sys.stdin:
        instance = json.loads(line)
        try:
            work(instance)
        except Exception as error:
            say({"index": instance["index"], "error": f"{type(error).__name__}: {error}"})
        else:
            say({"index": instance["index"]})


if __name__ == "__main__":
    main()
