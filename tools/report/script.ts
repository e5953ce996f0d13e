/**
 * Comfort alone: buttons that copy, and all that is folded open on paper. Nothing on the page needs it, and it writes nothing but its own
 * buttons.
 */
export const SCRIPT = `
'use strict';
for (const value of document.querySelectorAll('[data-copy]')) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'copy';
  button.textContent = 'Copy';
  button.setAttribute('aria-label', 'Copy ' + value.dataset.copy);
  const say = (text) => {
    button.textContent = text;
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  };
  button.addEventListener('click', () => {
    const select = () => {
      getSelection().selectAllChildren(value);
      say('Selected');
    };
    if (navigator.clipboard === undefined) select();
    else navigator.clipboard.writeText(value.textContent).then(() => say('Copied'), select);
  });
  value.closest('.copyable').append(button);
}
addEventListener('beforeprint', () => {
  for (const fold of document.querySelectorAll('details')) fold.open = true;
});
`;
