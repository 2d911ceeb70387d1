"""The alarm drill: cause each failure on a local cloud, see its alarm, and fix it with the runbook's commands.

For each alarm of the template and each held reason, the drill causes the failure, waits until the service emits what
the alarm watches, fires the alarm, waits for its message at the topic, and runs the commands of its section of the
runbook. Then the failure must be over.

The local cloud extracts no metrics from logs, so an alarm's threshold is not evaluated here;
tests/template/test_alarms.py tests it.
"""
