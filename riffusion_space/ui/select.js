// For scripts that act on what is chosen in a <select>.

/** With the keyboard, Enter acts: arrow keys, which change what is chosen, only pass by. */
function onChoice(select, act) {
  let keyed = false;
  select.title = say("With the keyboard, Enter does it");
  select.addEventListener("pointerdown", () => (keyed = false));
  select.addEventListener("change", () => keyed || !select.value || act());
  select.addEventListener("keydown", (event) => {
    keyed = true;
    if (event.key !== "Enter" || !select.value) return;
    event.preventDefault();
    act();
  });
}
