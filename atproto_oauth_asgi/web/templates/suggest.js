
const list = document.getElementById("handles");
const field = document.getElementById("identifier");
let asked = "", timer;
field.setAttribute("list", list.id);

async function suggest(text) {
  const url = new URL(list.dataset.from, location.href);
  url.searchParams.set("q", text);
  url.searchParams.set("limit", "6");
  const answer = await fetch(url, { credentials: "same-origin", referrerPolicy: "no-referrer" });
  const { actors } = await answer.json();
  if (asked !== text) return;
  list.replaceChildren(...actors.map(({ handle, displayName }) => {
    const option = document.createElement("option");
    option.value = handle;
    if (displayName) option.label = `${displayName} (${handle})`;
    return option;
  }));
}

field.addEventListener("input", () => {
  clearTimeout(timer);
  const text = field.value.trim().replace(/^@/, "");
  if (text.length < 2 || text === asked) return;
  timer = setTimeout(() => {
    asked = text;
    // Nobody needs suggestions to log in.
    suggest(text).catch(() => list.replaceChildren());
  }, 200);
});
