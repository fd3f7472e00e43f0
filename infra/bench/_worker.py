"""A container that delivers: `python -m infra.bench._worker` in a stage's environment.

It says "ready" and then, for each line on standard input, works off the fan-out queue through the function's handler,
a message at a time, until the queue stays empty. It prints when it ended the last one, and what it called.
"""

import json
import sys
import time

from infra.bench import _counted

EMPTY_SECONDS = 1.0


def main() -> None:
    """Serve until standard input ends."""
    _counted.install()
    from app import app  # noqa: PLC0415 - importing it reads the stage's settings
    from chalicelib import wiring  # noqa: PLC0415 - as above
    from chalicelib.handlers.delivery_jobs import fan_out  # noqa: PLC0415 - as above
    from chalicelib.storage import clients  # noqa: PLC0415 - as above
    from infra.local.invocation import LambdaContext  # noqa: PLC0415 - as above

    if not app.described:
        raise RuntimeError("the app has no routes")
    sqs = clients.session().create_client("sqs")
    url = sqs.get_queue_url(QueueName=wiring.queue_name("fanout"))["QueueUrl"]
    wiring.sealer().seal("warm", b"", b"")
    print("ready", flush=True)
    for _ in sys.stdin:
        done, cpu = 0, 0.0
        ended = idle_since = time.time()
        whole = _counted.Tally()
        while time.time() - idle_since < EMPTY_SECONDS:
            messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1).get("Messages", [])
            for message in messages:
                record = {"body": message["Body"], "receiptHandle": message["ReceiptHandle"]}
                cpu_before = time.process_time()
                with _counted.counted() as tally:
                    fan_out({"Records": [record]}, LambdaContext("fan_out", 300))
                cpu += time.process_time() - cpu_before
                whole.add(tally)
                done += 1
                ended = idle_since = time.time()
        print(json.dumps({"done": done, "ended": ended, "cpu": cpu, "tally": vars(whole)}), flush=True)


if __name__ == "__main__":
    main()
