// The button for the theme; and tooltips, because browsers show an SVG's title after a delay,
// and never on a phone.
const root = document.documentElement, tip = document.getElementById('tip');
document.getElementById('theme').addEventListener('click', () => {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
});
for (const title of document.querySelectorAll('.chart title')) {
  const owner = title.parentElement;
  owner.dataset.tip = title.textContent;
  title.remove();
  for (const path of owner.querySelectorAll(':scope > path')) {  // a line is thin to aim at
    const wider = path.cloneNode();
    wider.setAttribute('style', 'fill: none; stroke: transparent; stroke-width: 9');
    owner.append(wider);
  }
}
let last = null;
const show = (event) => {
  const owner = event.target.closest?.('[data-tip]');
  if (last !== owner) {
    last?.classList.remove('on');
    owner?.classList.add('on');
    last = owner;
  }
  tip.hidden = !owner;
  if (!owner) return;
  tip.textContent = owner.dataset.tip;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(8, Math.min(event.clientX + 12, innerWidth - box.width - 8)) + 'px';
  const above = event.clientY - box.height - 12;
  tip.style.top = (above > 8 ? above : event.clientY + 16) + 'px';
};
document.addEventListener('pointermove', show);
document.addEventListener('pointerdown', show);
