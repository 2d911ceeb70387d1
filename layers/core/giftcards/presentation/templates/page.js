(function () {
'use strict';
var main = document.querySelector('main'), live = document.getElementById('live'), sent = false;

// The answer to a POST becomes an ordinary entry of the history: back and reload ask for the button, not for the form again.
history.replaceState(null, '', location.href);
addEventListener('pageshow', function (event) {
  sent = false;
  if (event.persisted) location.reload();
});

// A second press while the first is on its way would cost another use.
document.addEventListener('submit', function (event) {
  if (sent) return event.preventDefault();
  sent = true;
  event.target.setAttribute('aria-busy', 'true');
  setTimeout(function () { sent = false; event.target.removeAttribute('aria-busy'); }, 8000);
});

function element(name, className, text) {
  var made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function addCopyButton(secret) {
  var pair = secret.closest('.pair'), card = secret.closest('li').querySelector('h2').textContent;
  var word = element('span', '', main.dataset.copy), hint = element('span', 'hint', ''), timer;
  var button = element('button', 'copy', '');
  button.type = 'button';
  button.appendChild(word);
  button.appendChild(element('span', 'hidden', ' – ' + pair.querySelector('dt').textContent + ', ' + card));
  secret.parentNode.appendChild(button);
  pair.classList.add('copyable');

  function say(buttonText, hintText) {
    word.textContent = buttonText;
    button.classList.toggle('done', buttonText === main.dataset.copied);
    hint.textContent = hintText;
    if (hintText) secret.parentNode.appendChild(hint); else hint.remove();
    live.textContent = hintText || buttonText;
    clearTimeout(timer);
    if (!hintText) timer = setTimeout(function () {
      word.textContent = main.dataset.copy;
      button.classList.remove('done');
      live.textContent = '';
    }, 4000);
  }
  function copied() { say(main.dataset.copied, ''); }
  function select() {
    getSelection().selectAllChildren(secret);
    say(main.dataset.copy, main.dataset.hold);
  }
  button.addEventListener('click', function () {
    try { navigator.clipboard.writeText(secret.textContent).then(copied, select); } catch (error) { select(); }
  });
}

if (main.dataset.copy) [].forEach.call(document.querySelectorAll('[data-secret]'), addCopyButton);
}());
