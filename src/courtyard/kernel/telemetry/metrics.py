"""The metrics of the kernel's own parts that have no module for them."""

from prometheus_client import ProcessCollector

from courtyard.kernel.telemetry.declared import REGISTRY, counter, gauge, histogram

# Memory, processor time and open files, in the library's own words.
ProcessCollector(namespace="courtyard", registry=REGISTRY)

REQUESTS = histogram(
    "courtyard_request_answer_seconds",
    "Time from the first byte of a request to the end of its answer.",
    method="Methods of HTTP; `_OTHER` for any other.",
    route="Templates of the routes; `(none)` where there is none.",
    status="Status of the answer; `0` where the client did not wait for one.",
)
SOCKET_EVENTS = histogram(
    "courtyard_socket_event_answer_seconds",
    "Time from a socket event to its acknowledgement.",
    event="Events of the AsyncAPI document; `(unknown)` for any other.",
    outcome="`ok`, or the code of the problem.",
)
SOCKETS = gauge("courtyard_sockets_open", "Connected sockets.")
SOCKETS_CUT = counter(
    "courtyard_sockets_cut",
    "Sockets that were cut.",
    reason=("rights_changed", "session_ended", "stranger", "too_slow"),
)
EVENTS = counter(
    "courtyard_events_recorded",
    "Events that were committed to the event log by this process.",
    event="Events of the AsyncAPI document.",
)
AUDIT_ENTRIES = counter(
    "courtyard_audit_entries_written",
    "Entries of the audit log, counted when they are written; where a transaction is undone, they are undone too.",
    action=("created", "updated", "deleted", "noted", "refused"),
)
TASKS = counter(
    "courtyard_tasks_ended",
    "Tries of tasks that have ended.",
    task="Declared tasks.",
    outcome="What became of the try.",
)
TASKS_SENT = counter("courtyard_tasks_sent", "Tasks that a broker was told of.", outcome=("sent", "failed"))
TASK_SECONDS = histogram(
    "courtyard_task_run_seconds",
    "Time that one try of a task took.",
    (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1_800),
    task="Declared tasks.",
)
TASK_WAIT_SECONDS = histogram(
    "courtyard_task_wait_seconds",
    "Time from when a task could have begun until it did.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 1_800, 3_600),
    queue="Declared queues.",
)
STORAGE_FAILURES = counter(
    "courtyard_storage_requests_failed",
    "What the storage of files has not done.",
    operation=("open", "write", "read", "stat", "remove", "list", "sign"),
)
FILES_UPLOADED = counter(
    "courtyard_files_uploaded",
    "Uploads that have ended.",
    outcome=("stored", "refused", "broken_off", "storage_failed"),
)
FILE_BYTES = counter("courtyard_files_bytes", "Bytes of files.", direction=("received", "sent"))
FILES_REMOVED = counter(
    "courtyard_files_removed", "Files that were removed from the storage.", reason=("removed", "orphan")
)
PICTURES = counter(
    "courtyard_pictures_cleaned", "Pictures that were worked on.", outcome=("done", "refused", "too_slow")
)
MAILS = counter(
    "courtyard_mail_delivered", "Attempts to deliver a mail.", outcome=("sent", "postponed", "refused", "expired")
)
WEBHOOKS = counter(
    "courtyard_webhooks_attempts", "Attempts to tell a receiver.", outcome=("delivered", "postponed", "given_up")
)
LIMITS_REFUSED = counter(
    "courtyard_limits_requests_refused", "What a rate limit has refused.", policy="Policies of [Limits](limits.md)."
)
LIMITS_STORE_FAILURES = counter(
    "courtyard_limits_store_failures", "Times that the shared store of limits did not answer."
)
LIMITS_DROPPED = counter(
    "courtyard_limits_keys_dropped", "Keys of limits that were forgotten before their time, to make room."
)
FAULTS = counter("courtyard_faults_logged", "Lines of the log at level error: each is a fault of the program.")
