// Start the timeline with the data of the page.

for (const root of document.querySelectorAll("[data-timeline]")) {
  const raw = JSON.parse(root.querySelector('[data-at="data"]').textContent);
  root.timeline = new Timeline(root, raw.map(decodeRun));
}
