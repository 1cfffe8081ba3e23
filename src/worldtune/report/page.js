// One frame number for the whole page: every film shows the same moment, always.
(() => {
  const root = document.documentElement;
  const clips = [...document.querySelectorAll(".clip")];
  const player = document.querySelector("#player");
  if (!clips.length) { player.remove(); return; }
  const frames = Math.max(...clips.map((clip) => Number(clip.dataset.frames)));
  const given = Number(clips[0].dataset.observed);
  const period = 1000 / Number(clips[0].dataset.fps);
  const hold = Math.max(1, Math.round(600 / period));
  const button = document.querySelector("#play");
  const slider = document.querySelector("#frame");
  const moment = document.querySelector("#moment");
  let frame = 0, playing = !matchMedia("(prefers-reduced-motion: reduce)").matches, last = 0;

  const show = () => {
    const shown = Math.min(frame, frames - 1);
    root.style.setProperty("--frame", shown);
    root.toggleAttribute("data-given", shown < given);
    slider.value = shown;
    moment.textContent = `frame ${shown + 1} of ${frames}, ${shown < given ? "given" : "generated"}`;
  };
  const tick = (now) => {
    if (playing && now - last >= period) {
      last = now;
      frame = (frame + 1) % (frames + hold);
      show();
    }
    requestAnimationFrame(tick);
  };
  const set = (value) => { playing = value; button.textContent = playing ? "Pause" : "Play"; };

  slider.max = frames - 1;
  slider.addEventListener("input", () => { set(false); frame = Number(slider.value); show(); });
  button.addEventListener("click", () => set(!playing));
  set(playing);
  show();
  requestAnimationFrame(tick);
})();
