// A picture that wheel, pinch, buttons and keys bring closer.

const MOST = 8;

export function startZoom(root) {
  const pan = root.querySelector(".pan");
  const image = pan.querySelector("img");
  const tools = root.querySelector("[data-zoom-tools]");
  const pointers = new Map();
  let scale = 1;
  let x = 0;
  let y = 0;
  let moved = false;
  let gap = 0;

  tools.hidden = false;
  image.draggable = false;

  function show() {
    const width = image.offsetWidth;
    const height = image.offsetHeight;
    x = Math.min(0, Math.max(x, width - width * scale));
    y = Math.min(0, Math.max(y, height - height * scale));
    image.style.transform = scale === 1 ? "" : `translate(${x}px, ${y}px) scale(${scale})`;
    pan.classList.toggle("zoomed", scale > 1);
    // The large one is fetched when somebody comes closer.
    if (scale > 1 && image.dataset.full && image.getAttribute("src") !== image.dataset.full) image.src = image.dataset.full;
  }

  function zoomTo(wanted, clientX, clientY) {
    const box = image.getBoundingClientRect();
    const next = Math.min(MOST, Math.max(1, wanted));
    const atX = (clientX - box.left) / scale;
    const atY = (clientY - box.top) / scale;
    x += atX * (scale - next);
    y += atY * (scale - next);
    scale = next;
    show();
  }

  const middle = () => {
    const box = pan.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  const by = (step) => (step ? zoomTo(scale * (step > 0 ? 1.5 : 1 / 1.5), ...middle()) : zoomTo(1, ...middle()));

  tools.addEventListener("click", (event) => {
    const button = event.target.closest("[data-zoom-by]");
    if (button) by(Number(button.dataset.zoomBy));
  });
  pan.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (!moved) zoomTo(scale > 1 ? 1 : 2.5, event.detail ? event.clientX : middle()[0], event.detail ? event.clientY : middle()[1]);
  });
  pan.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && scale === 1 && event.deltaY > 0) return;
      event.preventDefault();
      zoomTo(scale * Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
    },
    { passive: false },
  );
  pan.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event);
    moved = false;
    gap = 0;
    pan.setPointerCapture(event.pointerId);
  });
  pan.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    pointers.set(event.pointerId, event);
    if (pointers.size === 2) {
      const [one, other] = [...pointers.values()];
      const now = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      if (gap) zoomTo((scale * now) / gap, (one.clientX + other.clientX) / 2, (one.clientY + other.clientY) / 2);
      gap = now;
      moved = true;
    } else if (scale > 1) {
      x += event.clientX - before.clientX;
      y += event.clientY - before.clientY;
      moved ||= Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY) > 2;
      show();
    }
  });
  for (const name of ["pointerup", "pointercancel"]) pan.addEventListener(name, (event) => pointers.delete(event.pointerId));
  pan.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") by(1);
    else if (event.key === "-") by(-1);
    else if (event.key === "0") by(0);
    else return;
    event.preventDefault();
  });
  window.addEventListener("resize", () => by(0));
}
