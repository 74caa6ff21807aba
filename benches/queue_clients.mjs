// Takes and ends jobs one after another for some seconds, as an application would, and prints
// how many a second: queue_clients.mjs PACKAGES SYSTEM SECONDS. ours goes through PostgREST
// (BENCH_URL, BENCH_TOKEN, BENCH_REPO); the others through the packages of their makers.
import { createRequire } from "node:module";
import { Agent, request } from "node:http";

const [, , packages, system, seconds] = process.argv;
const load = createRequire(packages + "/");
const span = Number(seconds) * 1000;

async function looped(turn) {
  let done = 0;
  const begun = performance.now();
  while (performance.now() - begun < span) {
    await turn();
    done += 1;
  }
  return (done * 1000) / (performance.now() - begun);
}

const systems = {
  async ours() {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const headers = {
      authorization: `Bearer ${process.env.BENCH_TOKEN}`,
      "content-type": "application/json",
      "content-profile": "coord_v1",
    };
    const call = (name, args) =>
      new Promise((resolve, reject) => {
        const to = request(`${process.env.BENCH_URL}/rpc/${name}`, { method: "POST", agent, headers }, (answer) => {
          let body = "";
          answer.on("data", (part) => (body += part)).on("end", () => resolve(JSON.parse(body)));
        });
        to.on("error", reject).end(JSON.stringify(args));
      });
    return looped(async () => {
      const claimed = await call("get_work", { repo: process.env.BENCH_REPO });
      const { id, attempt } = claimed.tasks[0];
      const ended = await call("complete_work", { task: id, success: true, attempt });
      if (ended.outcome !== "completed") throw new Error(JSON.stringify(ended));
    });
  },

  async "graphile-worker"() {
    const worker = load("graphile-worker");
    let done = 0;
    const runner = await worker.run({
      pgPool: new (load("pg").Pool)(),
      concurrency: 1,
      taskList: { bench: async () => void (done += 1) },
      logger: new worker.Logger(() => () => {}),
      noHandleSignals: true,
    });
    const begun = performance.now();
    const first = done;
    await new Promise((resolve) => setTimeout(resolve, span));
    return ((done - first) * 1000) / (performance.now() - begun);
  },

  async "pg-boss"() {
    const boss = new (load("pg-boss"))({ db: database(), supervise: false, schedule: false });
    await boss.start();
    return looped(async () => {
      const [job] = await boss.fetch("bench");
      await boss.complete("bench", job.id);
    });
  },
};

function database() {
  const pool = new (load("pg").Pool)();
  return { executeSql: (text, values) => pool.query(text, values) };
}

console.log((await systems[system]()).toFixed(1));
process.exit(0);
