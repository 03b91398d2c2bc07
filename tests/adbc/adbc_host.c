/* A host without Python: opens the driver, reads a result, and makes the mistakes that C programs make. */

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "arrow-adbc/adbc.h"

#define CHECK(call)                                                          \
  do {                                                                       \
    AdbcStatusCode status = (call);                                          \
    if (status != ADBC_STATUS_OK) {                                          \
      fprintf(stderr, "%s: %d %s\n", #call, status, error.message);          \
      return 1;                                                              \
    }                                                                        \
  } while (0)

int main(int count, char** arguments) {
  if (count != 5) return 2;
  void* library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  AdbcDriverInitFunc init = (AdbcDriverInitFunc)dlsym(library, "SeaKernelDriverInit");
  if (init == NULL) return 1;

  struct AdbcError error = ADBC_ERROR_INIT;
  struct AdbcDriver driver;
  memset(&driver, 0, sizeof(driver));
  CHECK(init(ADBC_VERSION_1_1_0, &driver, &error));

  struct AdbcDatabase database = {0};
  CHECK(driver.DatabaseNew(&database, &error));
  CHECK(driver.DatabaseSetOption(&database, "databricks.server_hostname", arguments[2], &error));
  CHECK(driver.DatabaseSetOption(&database, "databricks.http_path", arguments[3], &error));
  CHECK(driver.DatabaseSetOption(&database, "databricks.access_token", arguments[4], &error));
  char told[256];
  size_t length = sizeof(told);
  AdbcStatusCode secret = driver.DatabaseGetOption(&database, "databricks.access_token", told, &length, &error);
  error.release(&error);
  CHECK(driver.DatabaseInit(&database, &error));

  struct AdbcConnection connection = {0};
  CHECK(driver.ConnectionNew(&connection, &error));
  CHECK(driver.ConnectionInit(&connection, &database, &error));
  struct AdbcStatement statement = {0};
  CHECK(driver.StatementNew(&connection, &statement, &error));
  CHECK(driver.StatementSetSqlQuery(&statement, "SELECT id FROM range(20000)", &error));
  struct ArrowArrayStream stream = {0};
  CHECK(driver.StatementExecuteQuery(&statement, &stream, NULL, &error));

  struct AdbcStatement other = {0};
  CHECK(driver.StatementNew(&connection, &other, &error));
  CHECK(driver.StatementSetSqlQuery(&other, "SELECT * FROM nowhere", &error));
  struct ArrowArrayStream none = {0};
  AdbcStatusCode missing = driver.StatementExecuteQuery(&other, &none, NULL, &error);
  char state[6] = {0};
  memcpy(state, error.sqlstate, 5);
  error.release(&error);
  CHECK(driver.StatementRelease(&other, &error));

  /* The rows are read when everything else is gone, in an order that no manual recommends. */
  CHECK(driver.DatabaseRelease(&database, &error));
  CHECK(driver.ConnectionRelease(&connection, &error));
  CHECK(driver.StatementRelease(&statement, &error));
  long rows = 0, sum = 0;
  for (;;) {
    struct ArrowArray array = {0};
    if (stream.get_next(&stream, &array) != 0) {
      fprintf(stderr, "%s\n", stream.get_last_error(&stream));
      return 1;
    }
    if (array.release == NULL) break;
    const long* values = (const long*)array.children[0]->buffers[1] + array.children[0]->offset;
    for (long row = 0; row < array.length; row++) sum += values[row];
    rows += array.length;
    array.release(&array);
  }
  stream.release(&stream);
  printf("rows %ld, sum %ld\n", rows, sum);
  printf("error %d, state %s\n", missing, state);
  printf("secret refused with %d\n", secret);
  printf("released twice: %d\n", driver.StatementRelease(&statement, &error));
  error.release(&error);
  driver.release(&driver, &error);
  return 0;
}
