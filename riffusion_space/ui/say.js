// What the page says in the visitor's language, as far as it speaks that. From scripted.py: languages, {language: {text:
// translation}}; from gr.HTML: element.

const language = navigator.language.slice(0, 2) in languages ? navigator.language.slice(0, 2) : "en";

/** A text in the visitor's language, with a part for each {}. */
const say = (text, ...parts) => ((languages[language] ?? {})[text] ?? text).replaceAll("{}", () => parts.shift() ?? "");

// What the template says.
for (const each of element.querySelectorAll("[aria-label], [title]")) {
  for (const name of ["aria-label", "title"]) {
    if (each.hasAttribute(name)) each.setAttribute(name, say(each.getAttribute(name)));
  }
}
for (const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT); walker.nextNode(); ) {
  const text = walker.currentNode.data.trim();
  if (text) walker.currentNode.data = walker.currentNode.data.replace(text, () => say(text));
}
