// The position of a slider decides how much of the source is shown.
for (const slider of document.querySelectorAll(".viewer input")) {
  const move = () => slider.parentElement.style.setProperty("--at", slider.value + "%");
  slider.addEventListener("input", move);
  move();
}
