// Long computations in short slices, so that the page answers between them.
"use strict";

const slices = (() => {
  const BUDGET = 10; // milliseconds of a slice
  const ORDER = ["codes", "path", "map", "evidence"]; // in which tasks run, the quick ones first
  const tasks = new Map(); // by name
  const channel = new MessageChannel(); // a timer would wait for 4 ms between slices
  let waiting = false;

  // Run a generator in slices, in place of what ran under this name before; then hand its result on.
  function run(name, generator, { progress, done } = {}) {
    tasks.set(name, { generator, progress, done });
    schedule();
  }

  const stop = (name) => tasks.delete(name);
  const idle = () => tasks.size === 0;

  function schedule() {
    if (waiting) return;
    waiting = true;
    channel.port2.postMessage(null);
  }

  channel.port1.onmessage = () => {
    waiting = false;
    const end = performance.now() + BUDGET;
    const name = ORDER.find((one) => tasks.has(one));
    if (!name) return;
    const task = tasks.get(name);
    let step;
    do step = task.generator.next();
    while (!step.done && performance.now() < end);
    if (step.done) {
      tasks.delete(name);
      task.done?.(step.value);
    } else {
      task.progress?.(step.value);
    }
    if (tasks.size) schedule();
  };

  return { run, stop, idle };
})();
