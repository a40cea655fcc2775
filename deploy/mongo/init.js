// Run once by mongosh after mongod answers: the set is initiated, and lull's role and user are there.
// Run again, it changes nothing but brings role and password up to what is written here.

const fs = require("fs");

const ELECTION_SECONDS_MAX = 60;

function required(name) {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is empty; fill it in in .env`);
  }
  return value;
}

const host = required("MONGO_HOST");
const password = encodeURIComponent(required("MONGO_ROOT_PASSWORD"));
const admin = new Mongo(`mongodb://root:${password}@${host}/admin?directConnection=true`).getDB("admin");

function run(command) {
  const answer = admin.runCommand(command);
  if (!answer.ok) {
    throw new Error(`${Object.keys(command)[0]}: ${answer.errmsg}`);
  }
  return answer;
}

function isInitiated() {
  try {
    run({ replSetGetStatus: 1 });
    return true;
  } catch (error) {
    if (error.codeName === "NotYetInitialized") {
      return false;
    }
    throw error;
  }
}

function waitForPrimary() {
  for (let second = 0; second < ELECTION_SECONDS_MAX; second += 1) {
    if (run({ hello: 1 }).isWritablePrimary) {
      return;
    }
    sleep(1000);
  }
  throw new Error(`no primary within ${ELECTION_SECONDS_MAX} s; look at the log of the service mongo`);
}

if (!isInitiated()) {
  // Clients are told to connect to the host in this document: it must be the name that workers know.
  run({ replSetInitiate: { _id: "lull", members: [{ _id: 0, host: host }] } });
  print("set lull initiated");
}
waitForPrimary();

const { createRole: role, privileges, roles } = JSON.parse(fs.readFileSync(required("ROLES_FILE"), "utf8"));
const roleIsThere = run({ rolesInfo: role }).roles.length > 0;
run({ [roleIsThere ? "updateRole" : "createRole"]: role, privileges, roles });

const userIsThere = run({ usersInfo: "lull" }).users.length > 0;
run({ [userIsThere ? "updateUser" : "createUser"]: "lull", pwd: required("MONGO_LULL_PASSWORD"), roles: [role] });

print(`user lull has the role ${role}`);
