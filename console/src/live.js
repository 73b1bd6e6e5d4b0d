// What happens in the library, as it happens; asked for now and then where no stream can be had.

const POLL_MILLISECONDS = 2500;
const AT_MOST_EVERY_MILLISECONDS = 400;

// Calls back, not too often, whenever something happened; returns what stops it.
export function whenChanged(callback) {
  let due = 0;
  let pollTimer = 0;
  let source = null;

  const soon = () => {
    if (due) return;
    due = window.setTimeout(() => {
      due = 0;
      if (!document.hidden) callback();
    }, AT_MOST_EVERY_MILLISECONDS);
  };
  const poll = () => {
    pollTimer ||= window.setInterval(soon, POLL_MILLISECONDS);
  };

  try {
    source = new EventSource("/api/v1/events");
    source.onmessage = soon;
    for (const what of ["change", "added", "replaced", "completed", "failed", "changed", "deleted", "undeleted", "moved", "removed", "file", "reset", "gap"])
      source.addEventListener(what, soon);
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) poll();
    };
  } catch {
    poll();
  }
  const onShow = () => !document.hidden && soon();
  document.addEventListener("visibilitychange", onShow);
  return () => {
    source?.close();
    window.clearInterval(pollTimer);
    window.clearTimeout(due);
    document.removeEventListener("visibilitychange", onShow);
  };
}
