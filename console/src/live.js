// What happens in the library, as it happens; asked for now and then where no stream can be had.

const POLL_MILLISECONDS = 2500;
const AT_MOST_EVERY_MILLISECONDS = 400;

const KINDS = ["added", "replaced", "completed", "failed", "changed", "deleted", "undeleted", "moved", "removed", "reload"];

// Calls back, not too often, with the kinds of what happened; returns what stops it.
export function whenChanged(callback) {
  let due = 0;
  let pollTimer = 0;
  let source = null;
  let kinds = new Set();

  const soon = (kind) => {
    if (kind) kinds.add(kind);
    if (due || document.hidden) return;
    due = window.setTimeout(() => {
      const told = kinds;
      due = 0;
      kinds = new Set();
      callback(told);
    }, AT_MOST_EVERY_MILLISECONDS);
  };
  const poll = () => {
    pollTimer ||= window.setInterval(() => soon("reload"), POLL_MILLISECONDS);
  };

  try {
    source = new EventSource("/api/v1/events");
    for (const kind of KINDS) source.addEventListener(kind, () => soon(kind));
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) poll();
    };
  } catch {
    poll();
  }
  const onShow = () => !document.hidden && kinds.size && soon();
  document.addEventListener("visibilitychange", onShow);
  return () => {
    source?.close();
    window.clearInterval(pollTimer);
    window.clearTimeout(due);
    document.removeEventListener("visibilitychange", onShow);
  };
}
