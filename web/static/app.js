// What every page needs: menu, theme, copy buttons, questions before a deletion, ages of things.
(() => {
  "use strict";
  const root = document.documentElement;

  const menu = document.querySelector(".nav-toggle");
  menu?.addEventListener("click", () => {
    const open = document.getElementById("nav").classList.toggle("open");
    menu.setAttribute("aria-expanded", String(open));
  });

  const themes = ["system", "light", "dark"];
  const toggle = document.querySelector(".theme-toggle");
  const showTheme = () => {
    toggle.querySelector(".theme-name").textContent = `Theme: ${root.dataset.theme || "system"}`;
  };
  if (toggle) {
    showTheme();
    toggle.addEventListener("click", () => {
      const next = themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length];
      if (next === "system") delete root.dataset.theme;
      else root.dataset.theme = next;
      try {
        if (next === "system") localStorage.removeItem("theme");
        else localStorage.setItem("theme", next);
      } catch {
        // The choice then lasts until the next page.
      }
      showTheme();
      document.dispatchEvent(new Event("themechange"));
    });
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.querySelector(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });

  for (const button of document.querySelectorAll("[data-back]")) {
    button.hidden = history.length < 2;
    button.addEventListener("click", () => history.back());
  }

  // What was typed into a form is still there, one page back from an error. Pages are not kept by the browser, and with them
  // it forgets their fields: the tab remembers them from a form's sending to the next page. No password is among them.
  const typed = (form) => [...form.elements].filter(
    ({ name, type }) => name && !["hidden", "password", "submit", "button", "file"].includes(type));
  const draft = (() => {
    try {
      const text = sessionStorage.getItem("draft");
      const kept = JSON.parse(text);
      if (kept && document.querySelector("[data-back]")) sessionStorage.setItem("draft", JSON.stringify({ ...kept, failed: true }));
      else sessionStorage.removeItem("draft");
      return kept;
    } catch {
      return null;
    }
  })();
  const page = () => location.pathname + location.search;
  const again = draft?.failed && draft.page === page() && [...document.forms].find((form) => form.getAttribute("action") === draft.action);
  if (again) {
    const rest = [...draft.fields];
    for (const field of typed(again)) {
      // Several may have one name: they come in their order.
      const at = rest.findIndex(([name]) => name === field.name);
      if (at < 0) continue;
      const [[, value]] = rest.splice(at, 1);
      const where = field.type === "checkbox" ? "checked" : "value";
      // What was filled in must not hide.
      if (field[where] !== value) field.closest("details")?.setAttribute("open", "");
      field[where] = value;
    }
  }

  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
    if (event.defaultPrevented) return;
    const fields = typed(event.target).map((field) => [field.name, field.type === "checkbox" ? field.checked : field.value]);
    try {
      sessionStorage.setItem("draft", JSON.stringify({ page: page(), action: event.target.getAttribute("action"), fields }));
    } catch {
      // Too much for the tab's memory, or forbidden.
    }
  });

  const ago = (seconds) => {
    if (seconds < 5) return "just now";
    if (seconds < 60) return `${Math.floor(seconds)} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
  };
  setInterval(() => {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      time.textContent = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
    }
  }, 15000);

  // What scrolls can be reached by keyboard, and nothing else becomes a stop on the way.
  const reach = () => {
    for (const box of document.querySelectorAll(".scroll, .prose pre")) {
      const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
      if (scrolls) box.tabIndex = 0;
    }
  };
  reach();
  addEventListener("resize", reach);
  document.addEventListener("toggle", () => setTimeout(reach), true);
  document.addEventListener("htmx:afterSettle", reach);

  document.getElementById("errors")?.focus();

  // The back button must not show a page of before a sign-out or a change.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  document.body.addEventListener("htmx:sendError", (event) => {
    const target = event.detail.target;
    const box = document.createElement("div");
    box.className = "banner bad";
    box.setAttribute("role", "alert");
    box.textContent = "The studio does not answer. Is it still running?";
    target.replaceChildren(box);
  });
})();
