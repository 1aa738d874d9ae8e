// Runs one signature of a SavedModel through TensorFlow's C API: no Python, no tfrs_twotower.
//
//   capi_loader EXPORT_DIR SIGNATURE [OP_LIBRARY] < inputs > outputs
//
// One tensor a line: name, dtype, rank, sizes, values, separated by spaces. Strings are hex after an
// "x" ("x6162" is "ab", "x" is empty). dtypes: string float32 int32 int64. Inputs that are not fed
// take the default that the graph holds.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"

namespace {

[[noreturn]] void Fail(const std::string& message) {
  std::cerr << message << "\n";
  std::exit(1);
}

struct Status {
  TF_Status* const ptr = TF_NewStatus();
  ~Status() { TF_DeleteStatus(ptr); }
  void Check(const char* what) const {
    if (TF_GetCode(ptr) != TF_OK) Fail(std::string(what) + ": " + TF_Message(ptr));
  }
};

// The wire format of protocol buffers, as far as a SignatureDef needs it: field numbers with
// length-delimited contents. https://protobuf.dev/programming-guides/encoding/
using Fields = std::multimap<int, std::string>;

uint64_t Varint(const std::string& bytes, size_t* at) {
  uint64_t value = 0;
  for (int shift = 0; *at < bytes.size(); shift += 7) {
    const unsigned char byte = bytes[(*at)++];
    value |= uint64_t{byte & 0x7fu} << shift;
    if (!(byte & 0x80)) break;
  }
  return value;
}

Fields Parse(const std::string& bytes) {
  Fields fields;
  for (size_t at = 0; at < bytes.size();) {
    const uint64_t key = Varint(bytes, &at);
    size_t size = 0;
    switch (key & 7) {
      case 0: Varint(bytes, &at); continue;
      case 1: size = 8; break;
      case 2: size = Varint(bytes, &at); break;
      case 5: size = 4; break;
      default: Fail("not a protocol buffer");
    }
    fields.emplace(key >> 3, bytes.substr(at, size));
    at += size;
  }
  return fields;
}

std::string First(const Fields& fields, int number) {
  const auto found = fields.find(number);
  return found == fields.end() ? "" : found->second;
}

std::map<std::string, std::string> Map(const Fields& fields, int number) {
  std::map<std::string, std::string> entries;
  const auto range = fields.equal_range(number);
  for (auto it = range.first; it != range.second; ++it) {
    const Fields entry = Parse(it->second);
    entries[First(entry, 1)] = First(entry, 2);
  }
  return entries;
}

// TensorInfo.name, "operation:index", as an output of the graph.
TF_Output Find(TF_Graph* graph, const std::string& tensor_info) {
  const std::string name = First(Parse(tensor_info), 1);
  const size_t colon = name.rfind(':');
  TF_Operation* operation = TF_GraphOperationByName(graph, name.substr(0, colon).c_str());
  if (operation == nullptr) Fail("the graph has no operation " + name);
  return {operation, std::atoi(name.substr(colon + 1).c_str())};
}

std::string FromHex(const std::string& text) {
  std::string bytes;
  for (size_t i = 1; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

template <typename T>
void Read(std::istream& in, TF_Tensor* tensor, int64_t count) {
  T* values = static_cast<T*>(TF_TensorData(tensor));
  for (int64_t i = 0; i < count; ++i) in >> values[i];
}

TF_Tensor* ReadTensor(std::istream& in, const std::string& dtype) {
  int rank = 0;
  in >> rank;
  std::vector<int64_t> sizes(rank);
  int64_t count = 1;
  for (int64_t& size : sizes) in >> size, count *= size;
  const std::map<std::string, TF_DataType> types = {
      {"string", TF_STRING}, {"float32", TF_FLOAT}, {"int32", TF_INT32}, {"int64", TF_INT64}};
  if (!types.count(dtype)) Fail("unknown dtype " + dtype);
  const TF_DataType type = types.at(dtype);
  const size_t item = type == TF_STRING ? sizeof(TF_TString) : TF_DataTypeSize(type);
  TF_Tensor* tensor = TF_AllocateTensor(type, sizes.data(), rank, item * count);
  if (type == TF_STRING) {
    TF_TString* values = static_cast<TF_TString*>(TF_TensorData(tensor));
    for (int64_t i = 0; i < count; ++i) {
      std::string text;
      in >> text;
      const std::string bytes = FromHex(text);
      TF_StringInit(&values[i]);
      TF_StringCopy(&values[i], bytes.data(), bytes.size());
    }
  } else if (type == TF_FLOAT) {
    Read<float>(in, tensor, count);
  } else if (type == TF_INT32) {
    Read<int32_t>(in, tensor, count);
  } else {
    Read<int64_t>(in, tensor, count);
  }
  if (in.fail()) Fail("a tensor has fewer values than its shape says");
  return tensor;
}

template <typename T>
void Write(const TF_Tensor* tensor, int64_t count) {
  const T* values = static_cast<const T*>(TF_TensorData(tensor));
  for (int64_t i = 0; i < count; ++i) std::cout << " " << values[i];
}

void WriteTensor(const std::string& name, const TF_Tensor* tensor) {
  const TF_DataType type = TF_TensorType(tensor);
  const char* dtype = type == TF_STRING  ? "string"
                      : type == TF_FLOAT ? "float32"
                      : type == TF_INT32 ? "int32"
                      : type == TF_INT64 ? "int64"
                                         : nullptr;
  if (dtype == nullptr) Fail("output " + name + " has a dtype that is not written here");
  std::cout << name << " " << dtype << " " << TF_NumDims(tensor);
  int64_t count = 1;
  for (int i = 0; i < TF_NumDims(tensor); ++i) {
    std::cout << " " << TF_Dim(tensor, i);
    count *= TF_Dim(tensor, i);
  }
  std::cout << std::setprecision(9);
  if (type == TF_STRING) {
    const TF_TString* values = static_cast<const TF_TString*>(TF_TensorData(tensor));
    for (int64_t i = 0; i < count; ++i) {
      std::cout << " x";
      const char* data = TF_StringGetDataPointer(&values[i]);
      for (size_t j = 0; j < TF_StringGetSize(&values[i]); ++j) {
        char hex[3];
        std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char>(data[j]));
        std::cout << hex;
      }
    }
  } else if (type == TF_FLOAT) {
    Write<float>(tensor, count);
  } else if (type == TF_INT32) {
    Write<int32_t>(tensor, count);
  } else {
    Write<int64_t>(tensor, count);
  }
  std::cout << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) Fail("usage: capi_loader EXPORT_DIR SIGNATURE [OP_LIBRARY] < inputs");
  Status status;
  if (argc > 3) {
    TF_LoadLibrary(argv[3], status.ptr);
    status.Check("TF_LoadLibrary");
  }
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_Buffer* buffer = TF_NewBuffer();
  const char* tags[] = {"serve"};
  TF_Session* session =
      TF_LoadSessionFromSavedModel(options, nullptr, argv[1], tags, 1, graph, buffer, status.ptr);
  status.Check("TF_LoadSessionFromSavedModel");

  // MetaGraphDef.signature_def = 5; SignatureDef.inputs = 1, outputs = 2.
  const std::string meta_graph(static_cast<const char*>(buffer->data), buffer->length);
  const auto signatures = Map(Parse(meta_graph), 5);
  if (!signatures.count(argv[2])) Fail(std::string("no signature ") + argv[2]);
  const Fields signature = Parse(signatures.at(argv[2]));
  const auto input_infos = Map(signature, 1), output_infos = Map(signature, 2);

  std::vector<TF_Output> inputs, outputs;
  std::vector<TF_Tensor*> fed, found(output_infos.size());
  for (std::string line, name, dtype; std::getline(std::cin, line);) {
    std::istringstream in(line);
    in >> name >> dtype;
    if (!input_infos.count(name)) Fail("the signature has no input " + name);
    inputs.push_back(Find(graph, input_infos.at(name)));
    fed.push_back(ReadTensor(in, dtype));
  }
  for (const auto& info : output_infos) outputs.push_back(Find(graph, info.second));

  TF_SessionRun(session, nullptr, inputs.data(), fed.data(), fed.size(), outputs.data(), found.data(),
                found.size(), nullptr, 0, nullptr, status.ptr);
  status.Check("TF_SessionRun");
  size_t i = 0;
  for (const auto& info : output_infos) WriteTensor(info.first, found[i++]);

  for (TF_Tensor* tensor : fed) TF_DeleteTensor(tensor);
  for (TF_Tensor* tensor : found) TF_DeleteTensor(tensor);
  TF_CloseSession(session, status.ptr);
  TF_DeleteSession(session, status.ptr);
  TF_DeleteSessionOptions(options);
  TF_DeleteBuffer(buffer);
  TF_DeleteGraph(graph);
  return 0;
}
