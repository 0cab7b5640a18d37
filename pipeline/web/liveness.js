// The check that a face is a living one: what the person is asked to do, how far it is, the verdict.

const $ = (id) => document.getElementById(id);

/** @param check what the server tells of it; null: there is none */
export function showCheck(check) {
  $("check").hidden = !check;
  if (!check) return;
  const waiting = check.status === "waiting";
  const verdicts = {
    passed: `A live person${check.name ? `: ${check.name}` : ""}. The check was passed.`,
    failed: `Not passed: ${check.message}`,
    expired: `Not passed: ${check.message}`,
  };
  const told = [check.instruction, check.hint].filter(Boolean).join(" ");
  const text = waiting ? `${check.step + 1} of ${check.steps}: ${told}` : verdicts[check.status];
  if ($("check-text").textContent !== text) $("check-text").textContent = text;
  $("check").dataset.status = check.status;
  $("check-stop").textContent = waiting ? "Stop" : "Close";
  $("check-bar").hidden = !waiting;
  const partly = check.asks === "look" || check.asks === "back" ? 0 : check.progress;
  $("check-bar").value = (check.step + partly) / check.steps;
}
