"""What each command does, without the command line around it.

A function here takes plain arguments, writes nothing to stdout, and returns one dict: the
object that `--json` prints. `loramix.cli` parses the call and draws the same dict for a person.
Only the two that speak while they work (`generate`, `chat`) are given somewhere to write to.
"""
