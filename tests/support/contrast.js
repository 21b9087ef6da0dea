// Every visible text of the page whose contrast is below WCAG 2 AA: 4.5 : 1, or 3 : 1 where it is large.
const parse = (text) => {
  const parts = text.match(/[\d.]+/g).map(Number);
  return text.startsWith("color(") ? [...parts.slice(-4, -1).map((p) => p * 255), parts.at(-1)] : [...parts.slice(0, 3), parts[3] ?? 1];
};
const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.unshift(parse(getComputedStyle(e).backgroundColor));
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return layers.reduce((under, layer) => over(layer, under), dark ? [18, 18, 18] : [255, 255, 255]);
};
const opacity = (element) => {
  let product = 1;
  for (let e = element; e; e = e.parentElement) product *= Number(getComputedStyle(e).opacity);
  return product;
};
const faint = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.data.trim();
  if (!text || element.closest(".visually-hidden, .skip, title, script, option") || !element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const colour = parse(element instanceof SVGElement ? style.fill : style.color);
  const behind = ground(element);
  colour[3] *= opacity(element);
  const [light, dark] = [luminance(over(colour, behind)), luminance(behind)].sort((a, b) => b - a);
  const ratio = (light + 0.05) / (dark + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  if (ratio < (large ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className.baseVal ?? element.className}: ${text.slice(0, 40)}`);
}
return faint;
