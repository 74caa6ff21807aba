// Installs graphile-worker and pg-boss in the database of PGDATABASE, as they do it
// themselves, lets each of them take and end one job, and prints the SQL that they sent
// for it: [[system, [[text, values] of the claim, [text, values] of the completion]], …].
import { createRequire } from "node:module";

const load = createRequire(process.argv[2] + "/");
const pg = load("pg");
const worker = load("graphile-worker");
const PgBoss = load("pg-boss");

const pool = new pg.Pool();
let sent = [];

async function graphileWorker() {
  // Listening and other connections of its own are its business.
  const connect = pool.connect.bind(pool);
  pool.connect = async () => {
    const client = await connect();
    return new Proxy(client, {
      get(target, name) {
        if (name === "query") {
          return (text, values) => {
            sent.push(text.text ? [text.text, text.values ?? []] : [text, values ?? []]);
            return target.query(text, values);
          };
        }
        const value = target[name];
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  };
  const quiet = new worker.Logger(() => () => {});
  const options = { pgPool: pool, taskList: { bench: async () => {} }, logger: quiet, noHandleSignals: true };
  await worker.runMigrations(options);
  const utils = await worker.makeWorkerUtils(options);
  await utils.addJob("bench", { n: 1 });
  await worker.runOnce(options);
  pool.connect = connect;
  return pair(/^with j as/, /^\s*delete from .*_private_jobs/s);
}

async function pgBoss() {
  const db = {
    executeSql: (text, values) => {
      sent.push([text, values ?? []]);
      return pool.query(text, values);
    },
  };
  const boss = new PgBoss({ db, supervise: false, schedule: false });
  await boss.start();
  await boss.createQueue("bench");
  await boss.send("bench", { n: 1 });
  const [job] = await boss.fetch("bench");
  await boss.complete("bench", job.id);
  await boss.stop({ graceful: false, wait: false });
  return pair(/SKIP LOCKED/, /completed_on = now\(\)/);
}

function pair(...patterns) {
  const found = patterns.map((pattern) => sent.find(([text]) => pattern.test(text)));
  sent = [];
  return found;
}

const answer = [["graphile-worker", await graphileWorker()], ["pg-boss", await pgBoss()]];
console.log(JSON.stringify(answer));
process.exit(0);
