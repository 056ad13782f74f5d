// Light or dark: as the reader's system has it, until the reader chooses.
"use strict";

const theme = (() => {
  const button = document.getElementById("theme");
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  let changed = () => {};

  // The site's other pages keep the choice under these names, so that one choice is for all.
  function chosen() {
    try {
      const name = localStorage.getItem("theme");
      return ["dark", "light"].includes(name) && localStorage.getItem("mode") !== "auto" ? name : null;
    } catch {
      return null; // nothing is kept for this page
    }
  }

  function choose(name) {
    try {
      localStorage.setItem("theme", name);
      localStorage.setItem("mode", name);
    } catch {
      // then the choice is for now
    }
    set(name);
  }

  function set(name) {
    document.documentElement.dataset.theme = name;
    button.setAttribute("aria-pressed", name === "dark");
    button.textContent = name === "dark" ? "☀" : "☾";
    changed();
  }

  const bySystem = () => (preferred.matches ? "dark" : "light");

  button.addEventListener("click", () => choose(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  preferred.addEventListener("change", () => chosen() ?? set(bySystem()));
  set(chosen() ?? bySystem());

  return { onChange: (action) => (changed = action) };
})();
