// For scripts that name what was made.

/** What a result is called: its prompts. "" where there are none. */
function titleOfSettings(settings) {
  const { prompt, prompt_a: from, prompt_b: to, sections = [] } = settings ?? {};
  const prompts = [prompt, from, to, ...sections.map((section) => section.prompt)].filter((text) => text?.trim());
  return [...new Set(prompts)].join(" → ");
}
