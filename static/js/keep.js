/* What a morph must leave alone: what a person typed, ticked, opened, or pointed at. (data-keep is in htmx-config.) */
(() => {
  "use strict";
  const theirs = (node, name) =>
    (name === "open" && (node.localName === "details" || node.localName === "dialog")) ||
    (name === "aria-current" && node.hasAttribute("data-row")) ||
    (name === "value" && node === document.activeElement) ||
    (name === "hidden" && node.hasAttribute("data-js-hidden"));
  htmx.registerExtension("interlock", {
    htmx_before_morph_attr: (node, detail) => !theirs(node, detail.attrName),
  });
})();
