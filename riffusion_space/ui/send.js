// Below select.js. From gr.HTML: element, props and trigger; from send.py: facts. props.value is {to: the tab's id}.

const choice = element.querySelector("select");
for (const [id, title] of Object.entries(facts.titles)) choice.append(new Option(say(title), id));
onChoice(choice, () => {
  props.value = { to: choice.value };
  choice.value = "";
  trigger("select");
});
