// Recording a sound: press to begin, press again to search with it.

const LONGEST_S = 30;

export function recorder(button, { onSound, onProblem }) {
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) {
    button.hidden = true; // browsers record on secure pages and on this machine only
    return;
  }
  let recording = null;
  button.addEventListener("click", async () => {
    if (recording) return recording.stop();
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      return onProblem(`The microphone cannot be used: ${error.message}`);
    }
    const chunks = [];
    recording = new MediaRecorder(stream);
    recording.addEventListener("dataavailable", (event) => chunks.push(event.data));
    recording.addEventListener("stop", () => {
      stream.getTracks().forEach((track) => track.stop());
      recording = null;
      button.classList.remove("on");
      const type = chunks[0]?.type.split(";")[0] || "audio/webm";
      onSound(new File(chunks, "recording.webm", { type: type.replace("video/", "audio/") }));
    });
    recording.start();
    button.classList.add("on");
    setTimeout(() => recording?.stop(), 1000 * LONGEST_S);
  });
}
