"""The launcher: starts or finds every part of the system on loopback, waits for its health, keeps its log, stops it by process id.

`catalog` says what the parts are, `launcher` brings them up and down, `status` and `doctor` look at them, `state` remembers them.
"""
